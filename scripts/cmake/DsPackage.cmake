# cmake --install and cpack: programs, systemd units, documents.
include(GNUInstallDirs)
install(FILES README.md ARCHITECTURE.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(system compute getfile ipc_proxy_cache udp_transfer)
  install(FILES ${system}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/${system})
endforeach()
install(FILES scripts/systemd/getfile-cached.service scripts/systemd/getfile-proxy@.service
              scripts/systemd/getfile-server.service scripts/systemd/prime-server.service
              scripts/systemd/text-server.service scripts/systemd/udp-server.service
              scripts/systemd/zmq-server.service scripts/systemd/zmq-worker@.service
        DESTINATION lib/systemd/system)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME distsys)
set(CPACK_PACKAGE_VENDOR distsys)
set(CPACK_PACKAGE_CONTACT "The distsys authors <distsys@localhost>")
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS shared-mime-info)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
include(CPack)
